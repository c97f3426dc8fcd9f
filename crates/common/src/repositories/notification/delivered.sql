with delivered as (
    update attune.notification
    set state = 'delivered', delivered_at = clock_timestamp(), error = null
    from unnest($1::bigint[], $2::integer[]) as delivery (notification, attempt)
    where notification.id = delivery.notification
      and notification.state = 'processing'
      and notification.attempts = delivery.attempt
    returning notification.id
)
select id from delivered order by id
