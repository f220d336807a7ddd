-- name: lock_migrations
-- Let one migration run at a time; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('orchestration.migration', 0));

-- name: has_migrations
-- Tell whether there is a schema of ours at all.
SELECT to_regclass('orchestration.migration') IS NOT NULL;

-- name: applied_migrations
-- Name what was applied.
SELECT name FROM orchestration.migration ORDER BY name;

-- name: note_migration
-- Remember that a migration was applied.
INSERT INTO orchestration.migration (name) VALUES (%(name)s);
