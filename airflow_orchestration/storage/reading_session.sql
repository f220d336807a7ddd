-- name: bound_statements
-- End what takes longer than somebody waits for it, and never wait long for a lock.
SELECT set_config('statement_timeout', %(statement_limit)s, false),
       set_config('lock_timeout', '2s', false);
