with updated as (
    update attune.key
    set name = coalesce($2, name),
        owner_type = coalesce($3, owner_type),
        owner_identity = case when $3 is null then owner_identity when $3 = 'identity' then $4 end,
        owner_pack = case when $3 is null then owner_pack when $3 = 'pack' then $4 end,
        owner_action = case when $3 is null then owner_action when $3 = 'action' then $4 end,
        owner_sensor = case when $3 is null then owner_sensor when $3 = 'sensor' then $4 end
    where id = $1 and ($5::timestamptz is null or updated = $5)
    returning *
)
select updated.*
from updated
where pg_notify('attune_definition', '') is not null
