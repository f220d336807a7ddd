-- name: target
-- Look at the place of a target table; no row means that its schema does not exist.
SELECT class.oid AS oid, class.relkind::text AS kind,
       pg_has_role(class.relowner, 'USAGE') AS owned,
       (SELECT attname::text FROM pg_partitioned_table
        JOIN pg_attribute ON attrelid = partrelid AND attnum = ANY (partattrs)
        WHERE partrelid = class.oid AND partstrat = 'l' AND partnatts = 1) AS listed_by,
       current_setting('transaction_read_only')::boolean AS read_only,
       has_schema_privilege(space.oid, 'USAGE') AS may_use_schema,
       has_schema_privilege(space.oid, 'CREATE') AS may_create,
       (SELECT coalesce(array_agg(needed), '{}')
        FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS needed
        WHERE NOT has_table_privilege(class.oid, needed)) AS refused_privileges
FROM pg_namespace AS space
LEFT JOIN pg_class AS class ON class.relnamespace = space.oid AND class.relname = %(name)s
WHERE space.nspname = %(schema)s;

-- name: target_columns
-- Read the columns of a table; one is demanded when rows without it are refused.
SELECT attname::text AS name, format_type(atttypid, NULL) AS type, format_type(atttypid, atttypmod) AS full_type,
       atttypmod AS modifier, typtype = 'd' AS is_domain, attnotnull AS is_required,
       attgenerated <> '' OR attidentity = 'a' AS is_generated,
       attnotnull AND NOT atthasdef AND attidentity = '' AS demanded
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- name: target_keys
-- Read the columns of every index that makes rows unique without exceptions.
SELECT array_agg(attname::text) AS columns
FROM pg_index
JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey[0:indnkeyatts - 1])
WHERE indrelid = %(oid)s AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL
GROUP BY indexrelid;
