with counted as (
    update attune.artifact set latest_version = latest_version + 1, is_empty = false where id = $1
    returning id, latest_version, retention_days
),
version as (
    insert into attune.artifact_version (artifact, version, execution, content_type, size, sha256, expires)
    select counted.id, counted.latest_version, $2, $3, octet_length($4::bytea), sha256($4::bytea),
           clock_timestamp() + make_interval(days => counted.retention_days)
    from counted
    returning id, artifact, version, execution, content_type, size, sha256, created
),
chunk as (
    insert into attune.artifact_chunk (artifact_version, seq, content)
    select version.id, piece, substr($4::bytea, piece * $5::integer + 1, $5::integer)
    from version
    -- Nothing is no piece.
    cross join generate_series(0, (octet_length($4::bytea) + $5::integer - 1) / $5::integer - 1) as piece
)
select * from version
