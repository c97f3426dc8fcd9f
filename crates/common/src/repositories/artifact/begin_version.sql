with counted as (
    update attune.artifact set latest_version = latest_version + 1, is_empty = false where id = $1
    returning id, latest_version, retention_days
)
insert into attune.artifact_version (artifact, version, execution, content_type, size, sha256, expires)
select counted.id, counted.latest_version, $2, $3, $4, $5,
       clock_timestamp() + make_interval(days => counted.retention_days)
from counted
returning id, artifact, version, execution, content_type, size, sha256, created
