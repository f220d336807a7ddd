-- name: lock_registry
-- Let one change at a time be numbered, until it is committed: whoever reads revision N has read all up to N.
LOCK TABLE orchestration.job_revision IN SHARE ROW EXCLUSIVE MODE;

-- name: newest_job
-- The newest revision of a job.
SELECT revision, tenant, job, files, changed_by, changed_at
FROM orchestration.job_revision
WHERE tenant = %(tenant)s AND job = %(job)s
ORDER BY revision DESC LIMIT 1;

-- name: add_revision
-- Append a change under the next number.
INSERT INTO orchestration.job_revision (revision, tenant, job, files, changed_by, changed_at)
SELECT coalesce(max(revision), 0) + 1, %(tenant)s, %(job)s, %(files)s, %(changed_by)s, clock_timestamp()
FROM orchestration.job_revision
RETURNING revision, tenant, job, files, changed_by, changed_at;

-- name: newest_revision
-- The number of the newest change; 0 when there is none.
SELECT coalesce(max(revision), 0) AS revision FROM orchestration.job_revision;

-- name: change
-- What a revision changed.
SELECT revision, tenant, job, files, changed_by, changed_at
FROM orchestration.job_revision
WHERE revision = %(revision)s;

-- name: jobs
-- The jobs of a revision, each as its last change up to there left it; without a number, the newest.
SELECT revision, tenant, job, files, changed_by, changed_at
FROM (
    SELECT DISTINCT ON (tenant, job) *
    FROM orchestration.job_revision
    WHERE %(revision)s::bigint IS NULL OR revision <= %(revision)s
    ORDER BY tenant, job, revision DESC
) AS last_change
WHERE files <> '[]'
ORDER BY tenant, job;

-- name: changes
-- Every change, oldest first: all, those of a tenant, those of a job.
SELECT revision, tenant, job, files, changed_by, changed_at
FROM orchestration.job_revision
WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(job)s::text IS NULL OR job = %(job)s)
ORDER BY revision;
