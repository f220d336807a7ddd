-- name: lock_registry
-- Let one change at a time be numbered, until it is committed: whoever reads revision N has read all up to N.
SELECT pg_advisory_xact_lock(hashtextextended('orchestration.job_revision', 0));

-- name: newest_change
-- The newest change of a job.
SELECT revision, tenant, job, is_removed, changed_by, changed_at
FROM orchestration.job_revision
WHERE tenant = %(tenant)s AND job = %(job)s
ORDER BY revision DESC LIMIT 1;

-- name: room
-- How many jobs a tenant has beside this one, and how often this one was changed in 24 hours.
SELECT
    (
        SELECT count(*)
        FROM (
            SELECT DISTINCT ON (job) is_removed
            FROM orchestration.job_revision
            WHERE tenant = %(tenant)s AND job <> %(job)s
            ORDER BY job, revision DESC
        ) AS last_change
        WHERE NOT is_removed
    ) AS other_jobs,
    (
        SELECT count(*)
        FROM orchestration.job_revision
        WHERE tenant = %(tenant)s AND job = %(job)s AND changed_at > clock_timestamp() - interval '24 hours'
    ) AS changes;

-- name: add_revision
-- Append a change under the next number.
INSERT INTO orchestration.job_revision (revision, tenant, job, files, changed_by, changed_at)
SELECT coalesce(max(revision), 0) + 1, %(tenant)s, %(job)s, %(files)s, %(changed_by)s, clock_timestamp()
FROM orchestration.job_revision
RETURNING revision, tenant, job, is_removed, changed_by, changed_at;

-- name: newest_revision
-- The number of the newest change; 0 when there is none.
SELECT coalesce(max(revision), 0) AS revision FROM orchestration.job_revision;

-- name: change
-- What a revision changed.
SELECT revision, tenant, job, is_removed, changed_by, changed_at
FROM orchestration.job_revision
WHERE revision = %(revision)s;

-- name: job
-- A job with its texts, as its last change up to a revision left it; without a number, the newest.
SELECT revision, tenant, job, is_removed, changed_by, changed_at, files
FROM (
    SELECT *
    FROM orchestration.job_revision
    WHERE tenant = %(tenant)s AND job = %(job)s AND (%(revision)s::bigint IS NULL OR revision <= %(revision)s)
    ORDER BY revision DESC LIMIT 1
) AS last_change
WHERE NOT is_removed;

-- name: jobs
-- The jobs of a revision with their texts, each as its last change up to there left it; without a number, the newest.
SELECT revision, tenant, job, is_removed, changed_by, changed_at, files
FROM (
    SELECT DISTINCT ON (tenant, job) *
    FROM orchestration.job_revision
    WHERE %(revision)s::bigint IS NULL OR revision <= %(revision)s
    ORDER BY tenant, job, revision DESC
) AS last_change
WHERE NOT is_removed
ORDER BY tenant, job;

-- name: listed
-- The last change of each job of a revision, of all or of a tenant; without a number, the newest.
SELECT revision, tenant, job, is_removed, changed_by, changed_at
FROM (
    SELECT DISTINCT ON (tenant, job) revision, tenant, job, is_removed, changed_by, changed_at
    FROM orchestration.job_revision
    WHERE (%(revision)s::bigint IS NULL OR revision <= %(revision)s) AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    ORDER BY tenant, job, revision DESC
) AS last_change
WHERE NOT is_removed
ORDER BY tenant, job;

-- name: changes
-- Every change, oldest first: all, those of a tenant, those of a job.
SELECT revision, tenant, job, is_removed, changed_by, changed_at
FROM orchestration.job_revision
WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(job)s::text IS NULL OR job = %(job)s)
ORDER BY revision;
