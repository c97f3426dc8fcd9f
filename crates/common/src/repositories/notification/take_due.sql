with due as materialized (
    select id
    from attune.notification
    -- The time of the statement, which is one for all rows, lets the index find what is due.
    where state in ('created', 'queued', 'processing') and not_before <= statement_timestamp()
    order by not_before, id
    limit $1
    for update skip locked
),
taken as (
    update attune.notification
    set state = 'processing', attempts = notification.attempts + 1,
        not_before = clock_timestamp() + make_interval(secs => $2)
    from due
    where notification.id = due.id
    returning notification.*
)
select * from taken order by id
