with put as (
    insert into attune.key (
        ref, name, owner_type, owner_identity, owner_pack, owner_action, owner_sensor, data_key, secret, value
    )
    select $1, substr($1, strpos($1, '.') + 1), $2, $3, $4, $5, $6, $7, $8, $9
    -- A value that was sealed before a rotation must not appear after it.
    where not exists (select from attune.data_key where id > $7)
    on conflict on constraint key_ref_key do update
    set data_key = excluded.data_key, value = excluded.value, version = key.version + 1
    -- Whoever made it a secret, or none, since the writer read it, is not undone.
    where key.secret = excluded.secret
    returning *
)
select put.*
from put
where pg_notify('attune_definition', '') is not null
