"""Whatever the locale of a database, one address is one user."""

from __future__ import annotations

import psycopg
import pytest

from gateway.api.fields import new_email
from gateway.operate import migrate
from harness.databases import Cluster

SPELLINGS = ("Ivan@example.com", "IVAN@EXAMPLE.COM", "ivan@example.com")


@pytest.mark.parametrize(
    ("locale", "lower"),
    [
        ("locale_provider icu icu_locale 'tr-TR'", "ıä"),
        pytest.param("locale_provider icu icu_locale 'de-DE'", "iä", marks=pytest.mark.soak),
        pytest.param("locale 'C.UTF-8'", "iä", marks=pytest.mark.soak),
        pytest.param("locale 'C'", "iÄ", marks=pytest.mark.soak),
    ],
)
def test_no_database_has_a_second_ivan(cluster: Cluster, locale: str, lower: str) -> None:
    with cluster.database(migrated=False, locale=locale) as database:
        for _ in range(2):
            migrate.apply(database.admin_url, lambda _: None)
        assert database.query("select lower('IÄ')") == [(lower,)]
        register = "select email from auth.register_user(%s, 'digest')"
        assert database.query(register, "IVAN@example.com") == [("ivan@example.com",)]
        for spelling in SPELLINGS:
            for given in (spelling, new_email(spelling)):
                with pytest.raises(psycopg.DatabaseError, match="email_taken"):
                    database.query(register, given)
                log_in = "select session_id is not null from auth.log_in(%s, 'digest', null, null, '1 day')"
                assert database.query(log_in, given) == [(True,)]
        database.query("select auth.set_role(%s, 'admin')", SPELLINGS[0])
        assert database.query(register, new_email("ÄRGER@example.com")) == [("ärger@example.com",)]


@pytest.mark.parametrize(
    ("given", "normal"),
    [("İI.ΟΔΥΣΣΕΥΣ.ẞ@Example.COM", "ii.οδυσσευσ.ß@example.com"), ("É@BÜCHER.example", "é@bücher.example")],
)
def test_the_normal_form_depends_on_no_locale(given: str, normal: str) -> None:
    assert new_email(given) == normal == new_email(normal)
