-- name: lock_leases
-- Let one transaction at a time change what is lent, and let it see what the ones before it did.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SELECT pg_advisory_xact_lock(hashtextextended('orchestration.lease', 0));

-- name: clock
-- Read the clock that decides what has expired.
SELECT clock_timestamp() AS now;

-- name: forget_leases
-- Delete what expired long ago.
DELETE FROM orchestration.lease WHERE expires_at <= %(now)s - %(forget_after)s;

-- name: end_other_lease
-- Take back what a holder was lent when it has expired, or something else is asked for: it waits from now on.
UPDATE orchestration.lease SET granted_at = NULL, asked_at = %(now)s, unserved_since = %(now)s
WHERE holder = %(holder)s AND granted_at IS NOT NULL
  AND (expires_at <= %(now)s
       OR (tenant, cpu_millicores, memory_mb, connections)
          <> (%(tenant)s, %(cpu_millicores)s, %(memory_mb)s, %(connections)s));

-- name: place_request
-- Give a request its place, or keep what it has.
INSERT INTO orchestration.lease AS known
    (holder, tenant, cpu_millicores, memory_mb, connections, epoch, asked_at, unserved_since, expires_at)
VALUES (%(holder)s, %(tenant)s, %(cpu_millicores)s, %(memory_mb)s, %(connections)s, %(epoch)s,
        %(now)s, %(now)s, %(now)s + %(lease_time)s)
ON CONFLICT (holder) DO UPDATE
SET tenant = excluded.tenant, cpu_millicores = excluded.cpu_millicores, memory_mb = excluded.memory_mb,
    connections = excluded.connections, epoch = greatest(known.epoch, excluded.epoch),
    expires_at = excluded.expires_at;

-- name: live_leases
-- Read who holds something or waits for it, oldest first.
SELECT holder, tenant, cpu_millicores, memory_mb, connections, epoch,
       asked_at, unserved_since, granted_at, expires_at
FROM orchestration.lease WHERE expires_at > coalesce(%(now)s::timestamptz, clock_timestamp())
ORDER BY asked_at, holder COLLATE "C";

-- name: lend
-- Lend to one who waited; the others of the tenant have been served with it.
UPDATE orchestration.lease
SET granted_at = CASE WHEN holder = %(holder)s THEN %(now)s END, unserved_since = %(now)s
WHERE tenant = %(tenant)s AND granted_at IS NULL;

-- name: keep_places
-- Keep the places of those who wait, also of who has not been heard of for a while; half-time is soon enough.
UPDATE orchestration.lease SET expires_at = %(now)s + %(keep_for)s
WHERE holder = ANY(%(holders)s) AND granted_at IS NULL
  AND expires_at > %(now)s - %(forget_after)s AND expires_at < %(now)s + %(keep_for)s / 2;

-- name: renew_lease
-- Keep a lease or a place that has not expired, and is not a newer execution's.
UPDATE orchestration.lease SET expires_at = clock_timestamp() + %(lease_time)s
WHERE holder = %(holder)s AND epoch <= %(epoch)s AND expires_at > clock_timestamp()
RETURNING holder;

-- name: release_lease
-- Give back what is held, or leave the queue; what is a newer execution's stays.
DELETE FROM orchestration.lease WHERE holder = %(holder)s AND epoch <= %(epoch)s;

-- name: lease_capacities
-- Read what may be lent, by tenant.
SELECT tenant, cpu_millicores, memory_mb, connections FROM orchestration.lease_capacity
WHERE cpu_millicores IS NOT NULL ORDER BY tenant;

-- name: set_lease_capacity
-- Say what may be lent to a tenant, or to everybody; without numbers the default.
INSERT INTO orchestration.lease_capacity AS known (tenant, cpu_millicores, memory_mb, connections)
VALUES (%(tenant)s, %(cpu_millicores)s, %(memory_mb)s, %(connections)s)
ON CONFLICT (tenant) DO UPDATE
SET cpu_millicores = excluded.cpu_millicores, memory_mb = excluded.memory_mb, connections = excluded.connections;
