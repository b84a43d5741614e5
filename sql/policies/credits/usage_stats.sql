alter view credits.usage_stats owner to mana_auditor;
revoke all on credits.usage_stats from public;
grant select on credits.usage_stats to mana_reader;
