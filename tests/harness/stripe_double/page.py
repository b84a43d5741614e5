"""The page to pay on: as plain as it can be, for a phone as for a desk, by keyboard."""

from __future__ import annotations

from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1a1a2e; --paper: #fff; --edge: #c9ccd6; --deed: #4b3fd1; --word: #fff; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ececf4; --paper: #16161f; --edge: #44465a; --deed: #a79dff; --word: #16161f; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }}
main {{ max-width: 26rem; margin: 0 auto; padding: 2rem 1rem; }}
h1 {{ font-size: 1.25rem; margin: 0; }}
.amount {{ font-size: 2.25rem; font-weight: 600; margin: 0 0 1.5rem; }}
fieldset {{ border: 1px solid var(--edge); border-radius: .5rem; margin: 0 0 1rem; padding: .5rem 1rem 1rem; }}
label {{ display: block; margin-top: .5rem; }}
input {{ width: 100%; padding: .6rem; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--edge); border-radius: .375rem; }}
button {{ width: 100%; margin-top: 1rem; padding: .75rem; font: inherit; font-weight: 600; color: var(--word);
  background: var(--deed); border: 0; border-radius: .375rem; cursor: pointer; }}
a {{ color: var(--deed); }}
.news {{ border-left: 4px solid #d1443f; padding: .25rem .75rem; }}
.note {{ font-size: .875rem; opacity: .8; }}
</style>
</head>
<body><main>{body}</main></body>
</html>
"""


def page(title: str, body: str) -> str:
    return _PAGE.format(title=escape(title), body=body)


def checkout(session: dict[str, Any], message: str = "") -> str:
    """The form of an open session."""
    money = f"{session['amount_total'] / 100:.2f} {session['currency'].upper()}"
    news = f'<p class="news" role="alert">{escape(message)}</p>' if message else ""
    cancel = session["cancel_url"]
    code = (
        '<form method="post"><fieldset><legend>Promotion code</legend><label>Code '
        '<input name="code" autocomplete="off"></label><button name="way" value="code">Apply</button></fieldset></form>'
        if session["allow_promotion_codes"]
        else ""
    )
    way_out = f'<p><a href="{escape(cancel)}">Cancel and go back</a></p>' if cancel else ""
    return page(
        "Pay (test)",
        f"""
<h1>{escape(session["_title"])}</h1>
<p class="amount">{escape(money)}</p>
{news}
<form method="post">
<fieldset><legend>Card</legend>
<label>Card number <input name="card" inputmode="numeric" value="4242 4242 4242 4242" autocomplete="off"></label>
<button name="way" value="card">Pay by card</button></fieldset>
</form>
<form method="post">
<fieldset><legend>Bank debit (SEPA)</legend>
<label>IBAN <input name="iban" value="DE89 3704 0044 0532 0130 00" autocomplete="off"></label>
<button name="way" value="iban">Pay by bank debit</button></fieldset>
</form>
{code}
{way_out}
<p class="note">A stand-in for Stripe: no money moves. 4000 0000 0000 0002 is declined.</p>
""",
    )


def approval(card: str) -> str:
    """What a bank asks before it lets a payment go."""
    return page(
        "Approve (test)",
        f"""
<h1>Your bank asks</h1>
<p>Do you approve this payment?</p>
<form method="post"><input type="hidden" name="card" value="{escape(card)}">
<button name="way" value="approve">Approve</button></form>
""",
    )


def over(message: str) -> str:
    """A session that nobody can pay any more."""
    return page("Pay (test)", f"<h1>{escape(message)}</h1>")
