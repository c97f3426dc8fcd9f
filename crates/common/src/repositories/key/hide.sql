with hidden as (
    update attune.key
    set data_key = $3, secret = true, value = $4, version = version + 1
    where id = $1 and version = $2 and not secret
      -- A value that was sealed before a rotation must not appear after it.
      and not exists (select from attune.data_key where id > $3)
    returning *
)
select hidden.*
from hidden
where pg_notify('attune_definition', '') is not null
