#!/bin/sh
# Run once, when the database is made: from now on its WAL can be archived.
pgbackrest --stanza=mana stanza-create ||
    echo 'warning: the WAL is not archived: the repository may hold the backups of another database' >&2
