-- name: plain_names
-- Let the catalog write every name out in full.
SELECT set_config('search_path', 'pg_catalog', true);

-- name: oid
-- Read which table stands behind a name.
SELECT class.oid AS oid
FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = %(name)s;

-- name: definition
-- Describe the columns, constraints and indexes of a table in one text; equal texts mean that one can stand for the other.
SELECT md5(concat_ws(E'\n',
    (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
                                 attcollation, pg_get_expr(adbin, adrelid)), E'\n' ORDER BY attnum)
     FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = %(old)s AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(definition, E'\n' ORDER BY definition COLLATE "C")
     FROM (SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint
           WHERE conrelid = %(old)s AND contype <> 't') AS own),
    (SELECT string_agg(definition, E'\n' ORDER BY definition COLLATE "C")
     FROM (SELECT concat(indisunique, substr(definition, strpos(definition, ' USING '))) AS definition
           FROM pg_index CROSS JOIN LATERAL pg_get_indexdef(indexrelid) AS definition
           WHERE indrelid = %(old)s AND indisvalid) AS own))) AS definition;

-- name: obstacles
-- Name everything about a table that would be lost when another table takes its place.
WITH own AS (
    SELECT oid FROM pg_class WHERE oid = %(old)s
    UNION SELECT relid FROM pg_partition_tree(%(old)s::oid))
SELECT format('trigger %%I', tgname) AS obstacle
FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM own) AND NOT tgisinternal
UNION ALL
SELECT format('foreign key %%I of %%s', conname, conrelid::regclass)
FROM pg_constraint WHERE confrelid = %(old)s AND contype = 'f' AND conparentid = 0
UNION ALL
SELECT DISTINCT format('publication %%I', pubname)
FROM own JOIN pg_class AS class USING (oid) JOIN pg_namespace AS space ON space.oid = relnamespace
JOIN pg_publication_tables ON schemaname = nspname AND tablename = relname
UNION ALL
SELECT format('materialized view %%s', class.oid::regclass)
FROM own
JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = own.oid AND classid = 'pg_rewrite'::regclass
JOIN pg_rewrite AS rule ON rule.oid = objid
JOIN pg_class AS class ON class.oid = ev_class AND relkind = 'm'
WHERE NOT %(partition)s
GROUP BY class.oid
UNION ALL
SELECT format('row security policy %%I', polname) FROM pg_policy WHERE polrelid = %(old)s AND NOT %(partition)s
UNION ALL
SELECT 'row security' FROM pg_class WHERE oid = %(old)s AND relrowsecurity AND NOT %(partition)s
UNION ALL
SELECT format('rule %%I', rulename) FROM pg_rewrite WHERE ev_class = %(old)s
UNION ALL
SELECT format('inheritance with %%s', CASE inhrelid WHEN %(old)s THEN inhparent ELSE inhrelid END::regclass)
FROM pg_inherits WHERE inhrelid = %(old)s OR (inhparent = %(old)s AND NOT %(partition)s)
UNION ALL
SELECT format('identity column %%I', attname)
FROM pg_attribute WHERE attrelid = %(old)s AND attidentity <> '' AND %(partition)s
UNION ALL
SELECT format('partitioned partition %%s', relid::regclass)
FROM pg_partition_tree(%(old)s::oid) WHERE level > 0 AND NOT isleaf AND %(partition)s
UNION ALL
SELECT format(CASE bound WHEN 'DEFAULT' THEN 'DEFAULT partition %%s' ELSE 'partition %%s of several values' END, inhrelid::regclass)
FROM pg_inherits
JOIN pg_class AS class ON class.oid = inhrelid
CROSS JOIN LATERAL pg_get_expr(relpartbound, inhrelid) AS bound
WHERE inhparent = %(old)s AND %(partition)s AND bound !~ '^FOR VALUES IN \((''([^'']|'''')*''|[^'',]+)\)$'
UNION ALL
SELECT DISTINCT pg_describe_object(depend.classid, depend.objid, depend.objsubid)
FROM own JOIN pg_class AS class USING (oid) JOIN pg_type AS row_type ON row_type.oid = reltype
JOIN pg_depend AS depend
  ON (refclassid = 'pg_type'::regclass AND refobjid IN (row_type.oid, row_type.typarray) AND deptype = 'n')
  OR (refclassid = 'pg_class'::regclass AND refobjid = class.oid AND classid = 'pg_proc'::regclass)
WHERE (class.oid <> %(old)s) = %(partition)s;

-- name: building
-- Write what makes a table like another one, without its indexes; rows that come in bear the stamps of the run.
WITH old AS (
    SELECT class.oid AS oid, relkind, relpersistence, format('%%I.%%I', nspname, class.relname) AS name, amname, spcname,
           class.reloptions AS options,
           (SELECT reloptions FROM pg_class AS toast WHERE toast.oid = class.reltoastrelid) AS toast_options
    FROM pg_class AS class
    JOIN pg_namespace AS space ON space.oid = relnamespace
    LEFT JOIN pg_am AS access ON access.oid = relam
    LEFT JOIN pg_tablespace AS place ON place.oid = reltablespace
    WHERE class.oid = %(old)s),
option AS (
    SELECT '' AS prefix, unnest(options) AS option FROM old WHERE relkind = 'r'
    UNION ALL SELECT 'toast.', unnest(toast_options) FROM old WHERE relkind = 'r'),
own_column AS (
    SELECT * FROM pg_attribute WHERE attrelid = %(old)s AND attnum > 0 AND NOT attisdropped),
step (place, statement) AS (
    SELECT 1, format('CREATE %%sTABLE %%s (LIKE %%s INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS)%%s%%s',
                     CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' END, %(new)s::text, name,
                     ' USING ' || quote_ident(amname), ' TABLESPACE ' || quote_ident(spcname))
    FROM old
    UNION ALL
    SELECT 2, format('ALTER TABLE %%s SET (%%s%%I = %%L)', %(new)s::text, prefix, split_part(option, '=', 1),
                     substr(option, strpos(option, '=') + 1))
    FROM option
    UNION ALL
    SELECT 3, format('ALTER TABLE %%s ALTER COLUMN %%I SET STATISTICS %%s', %(new)s::text, attname, attstattarget)
    FROM own_column WHERE attstattarget >= 0
    UNION ALL
    SELECT 4, format('ALTER TABLE %%s ALTER COLUMN %%I SET (%%s)', %(new)s::text, attname, array_to_string(attoptions, ', '))
    FROM own_column WHERE attoptions IS NOT NULL
    UNION ALL
    SELECT 5, format('SELECT setval(pg_get_serial_sequence(%%L, %%L), last_value, is_called) FROM %%s',
                     %(new)s::text, attname, objid::regclass)
    FROM own_column
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum
                  AND classid = 'pg_class'::regclass AND deptype = 'i'
    WHERE attidentity <> ''
    UNION ALL
    SELECT 6, format('ALTER TABLE %%s ALTER COLUMN _run_id SET DEFAULT %%L, ALTER COLUMN _published_at SET DEFAULT now()',
                     %(new)s::text, %(run)s::text))
SELECT statement FROM step ORDER BY place;

-- name: unstamping
-- Write what gives the stamped columns their own defaults back.
SELECT format('ALTER TABLE %%s ALTER COLUMN %%I %%s', %(new)s::text, attname,
              coalesce('SET DEFAULT ' || pg_get_expr(adbin, adrelid), 'DROP DEFAULT')) AS statement
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = %(old)s AND attname IN ('_run_id', '_published_at');

-- name: indexing
-- Write what gives a table the keys, indexes and foreign keys of another one, under names that are free.
WITH old AS (
    SELECT nspname, relname, relkind, relreplident
    FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = relnamespace
    WHERE class.oid = %(old)s),
own_index AS (
    SELECT pg_index.*, class.relname AS name, con.oid AS con,
           %(prefix)s || '_i' || row_number() OVER (ORDER BY class.relname COLLATE "C") AS made
    FROM pg_index
    JOIN pg_class AS class ON class.oid = indexrelid
    LEFT JOIN pg_constraint AS con ON con.conindid = indexrelid AND con.conrelid = indrelid AND contype IN ('p', 'u', 'x')
    WHERE indrelid = %(old)s AND indisvalid),
step (place, statement) AS (
    SELECT 1, CASE WHEN con IS NOT NULL
                   THEN format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', %(new)s::text, made, pg_get_constraintdef(con))
                   ELSE format('CREATE %%sINDEX %%I ON %%s%%s', CASE WHEN indisunique THEN 'UNIQUE ' END, made, %(new)s::text,
                               substr(pg_get_indexdef(indexrelid), 1 + length(format(
                                   'CREATE %%sINDEX %%I ON %%s%%I.%%I', CASE WHEN indisunique THEN 'UNIQUE ' END, name,
                                   CASE relkind WHEN 'p' THEN 'ONLY ' END, nspname, relname)))) END
    FROM own_index CROSS JOIN old
    UNION ALL
    SELECT 2, format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', %(new)s::text, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid = %(old)s AND contype = 'f'
    UNION ALL
    SELECT 3, format('ALTER TABLE %%s CLUSTER ON %%I', %(new)s::text, made) FROM own_index WHERE indisclustered
    UNION ALL
    SELECT 3, format('ALTER TABLE %%s REPLICA IDENTITY USING INDEX %%I', %(new)s::text, made)
    FROM own_index WHERE indisreplident
    UNION ALL
    SELECT 3, format('ALTER TABLE %%s REPLICA IDENTITY %%s', %(new)s::text, CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
    FROM old WHERE relreplident IN ('f', 'n') AND relkind = 'r')
SELECT statement FROM step ORDER BY place;

-- name: locking_views
-- Write what locks the views that read a table, and nothing else: readers lock views before tables, and so must we.
SELECT DISTINCT format('ALTER VIEW %%s OWNER TO %%I', class.oid::regclass, pg_get_userbyid(relowner)) AS statement
FROM pg_depend
JOIN pg_rewrite AS rule ON rule.oid = objid
JOIN pg_class AS class ON class.oid = ev_class AND relkind = 'v'
WHERE refclassid = 'pg_class'::regclass AND refobjid = %(old)s AND classid = 'pg_rewrite'::regclass
ORDER BY statement;

-- name: carrying
-- Write what gives a table the owner, the grants and the comment of another one.
WITH old AS (
    SELECT relowner, coalesce(relacl, acldefault('r', relowner)) AS acl,
           obj_description(oid, 'pg_class') AS comment
    FROM pg_class WHERE oid = %(old)s),
new AS (
    SELECT relowner, coalesce(relacl, acldefault('r', relowner)) AS acl FROM pg_class WHERE oid = %(new_oid)s),
step (place, statement) AS (
    SELECT 1, format('ALTER TABLE %%s OWNER TO %%I', %(new)s::text, pg_get_userbyid(old.relowner))
    FROM old JOIN new ON old.relowner <> new.relowner
    UNION ALL
    SELECT DISTINCT 2, format('REVOKE ALL ON TABLE %%s FROM %%s', %(new)s::text,
                              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
    FROM (SELECT grantee FROM new CROSS JOIN aclexplode(acl) UNION SELECT relowner FROM old) AS granted
    UNION ALL
    SELECT 3, format('GRANT %%s ON TABLE %%s TO %%s%%s', privilege_type, %(new)s::text,
                     CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                     CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
    FROM old CROSS JOIN aclexplode(acl)
    UNION ALL
    SELECT 4, format('GRANT %%s (%%I) ON TABLE %%s TO %%s%%s', privilege_type, attname, %(new)s::text,
                     CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                     CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
    FROM pg_attribute CROSS JOIN aclexplode(attacl)
    WHERE attrelid = %(old)s AND NOT attisdropped
    UNION ALL
    SELECT 5, format('COMMENT ON TABLE %%s IS %%L', %(new)s::text, comment) FROM old WHERE comment IS NOT NULL)
SELECT statement FROM step ORDER BY place;

-- name: carrying_sequences
-- Write what gives the sequences of identity columns the names, grants and comments of those that they follow.
WITH sequence AS (
    SELECT attrelid, attname, class.oid AS oid, nspname, relname, relacl,
           coalesce(relacl, acldefault('s', relowner)) AS acl
    FROM pg_attribute
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum AND deptype = 'i'
    JOIN pg_class AS class ON class.oid = objid AND relkind = 'S'
    JOIN pg_namespace AS space ON space.oid = relnamespace
    WHERE attrelid IN (%(old)s, %(new_oid)s) AND attidentity <> ''),
pair AS (
    SELECT old.oid AS oid, old.acl AS acl, new.acl AS new_acl, old.nspname AS space, new.relname AS made, old.relname AS name,
           format('%%I.%%I', old.nspname, old.relname) AS full_name,
           old.relacl IS NOT NULL OR new.relacl IS NOT NULL AS is_granted
    FROM sequence AS old JOIN sequence AS new USING (attname)
    WHERE old.attrelid = %(old)s AND new.attrelid = %(new_oid)s),
step (place, statement) AS (
    SELECT 1, format('ALTER SEQUENCE %%I.%%I RENAME TO %%I', space, made, name) FROM pair
    UNION ALL
    SELECT DISTINCT 2, format('REVOKE ALL ON SEQUENCE %%s FROM %%s', full_name,
                              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
    FROM pair CROSS JOIN aclexplode(acl || new_acl) WHERE is_granted
    UNION ALL
    SELECT 3, format('GRANT %%s ON SEQUENCE %%s TO %%s%%s', privilege_type, full_name,
                     CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                     CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
    FROM pair CROSS JOIN aclexplode(acl) WHERE is_granted
    UNION ALL
    SELECT 4, format('COMMENT ON SEQUENCE %%s IS %%L', full_name, obj_description(oid, 'pg_class'))
    FROM pair WHERE obj_description(oid, 'pg_class') IS NOT NULL)
SELECT statement FROM step ORDER BY place;

-- name: swapping
-- Write what puts a table in the place of another one: its name, its sequences, the views that read it.
WITH old AS (
    SELECT quote_ident(nspname) AS space, quote_ident(relname) AS name, format('%%I.%%I', nspname, relname) AS full_name
    FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = relnamespace
    WHERE class.oid = %(old)s),
reader AS (
    SELECT DISTINCT rule.oid AS rule, rulename, class.oid AS view, relkind, reloptions
    FROM pg_depend
    JOIN pg_rewrite AS rule ON rule.oid = objid
    JOIN pg_class AS class ON class.oid = ev_class
    WHERE refclassid = 'pg_class'::regclass AND refobjid = %(old)s AND classid = 'pg_rewrite'::regclass
      AND ev_class <> %(old)s),
step (place, statement) AS (
    SELECT 1, format('ALTER TABLE %%s RENAME TO %%I', full_name, %(aside)s::text) FROM old
    UNION ALL
    SELECT 2, format('ALTER TABLE %%s SET SCHEMA %%s', %(new)s::text, space) FROM old
    UNION ALL
    SELECT 3, format('ALTER TABLE %%s.%%I RENAME TO %%s', space, %(new_name)s::text, name) FROM old
    UNION ALL
    SELECT 4, format('ALTER SEQUENCE %%s OWNED BY %%s.%%I', objid::regclass, full_name, attname)
    FROM old CROSS JOIN pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE refclassid = 'pg_class'::regclass AND refobjid = %(old)s AND classid = 'pg_class'::regclass AND deptype = 'a'
      AND (SELECT relkind FROM pg_class WHERE oid = objid) = 'S'
    UNION ALL
    SELECT 5, format('CREATE OR REPLACE VIEW %%s%%s AS %%s', view::regclass,
                     (SELECT format(' WITH (%%s)', string_agg(format('%%I = %%L', split_part(option, '=', 1),
                                                                     substr(option, strpos(option, '=') + 1)), ', '))
                      FROM unnest(reloptions) AS option HAVING count(*) > 0),
                     pg_get_viewdef(view))
    FROM reader WHERE relkind = 'v' AND rulename = '_RETURN'
    UNION ALL
    SELECT 6, 'CREATE OR REPLACE' || substr(pg_get_ruledef(rule), length('CREATE') + 1)
    FROM reader WHERE rulename <> '_RETURN'
    UNION ALL
    SELECT 7, format('DROP TABLE %%s.%%I', space, %(aside)s::text) FROM old)
SELECT statement FROM step ORDER BY place;

-- name: naming
-- Write what gives the parts of a table that took a place the names and comments of those that had it.
WITH own_index AS (
    SELECT indexrelid, quote_ident(nspname) AS space, con.oid AS con,
           CASE WHEN %(named)s::text IS NULL THEN class.relname
                WHEN indisprimary THEN %(named)s || '_pkey'
                ELSE %(named)s || '_i' || row_number() OVER (ORDER BY class.relname COLLATE "C") END AS name,
           %(prefix)s || '_i' || row_number() OVER (ORDER BY class.relname COLLATE "C") AS made
    FROM pg_index
    JOIN pg_class AS class ON class.oid = indexrelid
    JOIN pg_namespace AS space ON space.oid = relnamespace
    LEFT JOIN pg_constraint AS con ON con.conindid = indexrelid AND con.conrelid = indrelid AND contype IN ('p', 'u', 'x')
    WHERE indrelid = %(old)s AND indisvalid),
step (place, statement) AS (
    SELECT 1, format('ALTER INDEX %%s.%%I RENAME TO %%I', space, made, name) FROM own_index
    UNION ALL
    SELECT 2, format('COMMENT ON INDEX %%s.%%I IS %%L', space, name, obj_description(indexrelid, 'pg_class'))
    FROM own_index WHERE obj_description(indexrelid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 3, format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', coalesce(own_index.name, conname), %(final)s::text,
                     obj_description(pg_constraint.oid, 'pg_constraint'))
    FROM pg_constraint LEFT JOIN own_index ON con = pg_constraint.oid
    WHERE conrelid = %(old)s AND contype IN ('p', 'u', 'x', 'f')
      AND obj_description(pg_constraint.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT 4, format('ALTER TABLE %%s RENAME CONSTRAINT %%I TO %%I', %(final)s::text, mine.conname, theirs.conname)
    FROM pg_constraint AS mine
    JOIN pg_attribute AS my_column ON my_column.attrelid = mine.conrelid AND my_column.attnum = mine.conkey[1]
    JOIN pg_attribute AS their_column ON their_column.attrelid = %(old)s AND their_column.attname = my_column.attname
    JOIN pg_constraint AS theirs
      ON theirs.conrelid = %(old)s AND theirs.contype = 'n' AND theirs.conkey[1] = their_column.attnum
    WHERE mine.conrelid = %(new_oid)s AND mine.contype = 'n' AND mine.conname <> theirs.conname
      AND %(named)s::text IS NULL
    UNION ALL
    SELECT 5, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = %(old)s AND %(named)s::text IS NULL)
SELECT statement FROM step ORDER BY place;

-- name: partition
-- Find the partition of a value, whoever made it.
SELECT class.oid AS oid, relname::text AS name, nspname::text AS schema,
       format('%%I.%%I', nspname, relname) AS full_name
FROM pg_inherits
JOIN pg_class AS class ON class.oid = inhrelid
JOIN pg_namespace AS space ON space.oid = relnamespace
WHERE inhparent = %(old)s
  AND pg_get_expr(relpartbound, class.oid) IN (
      format('FOR VALUES IN (%%s)', %(value)s::text),
      format('FOR VALUES IN (''%%s'')', replace(%(value)s, '''', '''''')));

-- name: exchanging
-- Write what puts a table in the place of a partition, or beside the others when there is none yet.
WITH parent AS (
    SELECT format('%%I.%%I', nspname, relname) AS name, quote_ident(nspname) AS space
    FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = relnamespace
    WHERE class.oid = %(old)s),
step (place, statement) AS (
    SELECT 1, format('ALTER TABLE %%s DETACH PARTITION %%s', name, %(gone)s::text) FROM parent WHERE %(gone)s::text IS NOT NULL
    UNION ALL
    SELECT 2, format('DROP TABLE %%s', %(gone)s::text) WHERE %(gone)s::text IS NOT NULL
    UNION ALL
    SELECT 3, format('ALTER TABLE %%s SET SCHEMA %%s', %(new)s::text, space) FROM parent
    UNION ALL
    SELECT 4, format('ALTER TABLE %%s.%%I RENAME TO %%I', space, %(new_name)s::text, %(name)s::text) FROM parent
    UNION ALL
    SELECT 5, format('ALTER TABLE %%s ATTACH PARTITION %%s.%%I FOR VALUES IN (%%L)', name, space, %(name)s::text, %(value)s::text)
    FROM parent
    UNION ALL
    SELECT 6, format('ALTER TABLE %%s.%%I DROP CONSTRAINT orchestration_value', space, %(name)s::text) FROM parent)
SELECT statement FROM step ORDER BY place;

-- name: values
-- Read the values of the partitioned column among the rows, a few at most.
SELECT DISTINCT {value}::text AS value FROM {new} LIMIT 6;

-- name: column_type
-- Read the type of a column as a cast takes it.
SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = %(old)s AND attname = %(column)s AND NOT attisdropped;

-- name: cast
-- A value as another type has it.
{value}::{type};

-- name: one_value
-- Let the server know that all rows have one value, so that it need not look when the table is attached.
ALTER TABLE {new} ADD CONSTRAINT orchestration_value CHECK ({column} IS NOT NULL AND {column} = {value});

-- name: analyze
-- Give the planner its statistics before anybody reads the table.
ANALYZE {table};

-- name: analyze_key
-- Give the planner the statistics of the key alone.
ANALYZE {table} ({key});

-- name: lock
-- Keep readers and writers out for the moment of the exchange.
LOCK TABLE {only} {table} IN ACCESS EXCLUSIVE MODE;

-- name: read_lock
-- Keep a table as it is while it is looked at.
LOCK TABLE {table} IN ACCESS SHARE MODE;

-- name: patience
-- Bound the wait for a lock: whoever comes after us waits as long.
SELECT set_config('lock_timeout', %(wait)s, true);

-- name: same_rows
-- Does a table hold these rows and no others?
SELECT CASE WHEN NOT EXISTS (SELECT FROM {new}) THEN NOT EXISTS (SELECT FROM {kept})
            ELSE NOT EXISTS ({differing_first}) AND (SELECT count(*) FROM {new}) = (SELECT count(*) FROM {kept})
                 AND NOT EXISTS ({differing}) END AS same;

-- name: differing
-- Read the rows that a table lacks or holds otherwise.
SELECT FROM {new} AS new LEFT JOIN {kept} AS old ON ({new_key}) = ({old_key})
WHERE ({old_key}) IS NULL OR ({new_values}) IS DISTINCT FROM ({old_values});

-- name: first_rows
-- A few rows, enough to see at once that nearly everything is different.
(SELECT * FROM {new} LIMIT 1000)
