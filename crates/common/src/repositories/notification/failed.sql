with failed as (
    update attune.notification
    set state = case when failure.retry_after is null then 'error' else 'queued' end::attune.notification_state,
        error = failure.error,
        not_before = coalesce(
            clock_timestamp() + make_interval(secs => failure.retry_after), notification.not_before
        )
    from unnest($1::bigint[], $2::integer[], $3::text[], $4::double precision[])
        as failure (notification, attempt, error, retry_after)
    where notification.id = failure.notification
      and notification.state = 'processing'
      and notification.attempts = failure.attempt
    returning notification.id
)
select id from failed order by id
