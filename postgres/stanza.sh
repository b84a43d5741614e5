#!/bin/sh
# Runs once, when the database is made, so that its WAL can be archived.
pgbackrest --stanza=mana stanza-create ||
    echo 'warning: the WAL is not archived: the repository may hold the backups of another database' >&2
