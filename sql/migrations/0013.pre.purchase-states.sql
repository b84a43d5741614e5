-- A value of an enum cannot be used in the transaction that adds it, so these two come by themselves.
set local lock_timeout = '1s';

set local role mana_owner;

-- Money is on its way (a bank debit takes days), or the time to pay has passed. Neither is final: paid beats both.
alter type credits.purchase_status add value if not exists 'processing' before 'completed';
alter type credits.purchase_status add value if not exists 'expired' before 'refunded';

reset role;
