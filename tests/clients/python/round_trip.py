"""Registers, logs in, spends and prints what it saw."""

import json
import sys

from openapi_client import (
    ApiClient,
    ApiException,
    BalancesApi,
    Configuration,
    Login,
    PackagesApi,
    ProblemDocument,
    Register,
    SessionsApi,
    SpendingApi,
    TransactionsApi,
    UseCredits,
    UsersApi,
)


def main(url: str, email: str) -> None:
    password = "correct horse battery"
    configuration = Configuration(host=url)
    with ApiClient(configuration) as client:
        UsersApi(client).register_user(Register(email=email, password=password))
        session = SessionsApi(client).log_in(Login(email=email, password=password))
        configuration.access_token = session.access_token

        before = BalancesApi(client).get_balance().free_credits_remaining
        spending = SpendingApi(client)
        wish = UseCredits(amount=10, appId="tests", description="a test", metadata={"language": "Python"})
        spending.use_credits(wish, idempotency_key="once")
        after = spending.use_credits(wish, idempotency_key="once").new_balance.free_credits_remaining
        rows = TransactionsApi(client).list_transactions(limit=5)
        PackagesApi(client).list_packages()
        try:
            spending.use_credits(wish.model_copy(update={"amount": 1_000_000_000}), idempotency_key="too much")
        except ApiException as error:
            problem = ProblemDocument.from_dict(json.loads(error.body or ""))
            print(before, after, len(rows), problem.code if problem else None)


main(*sys.argv[1:])
