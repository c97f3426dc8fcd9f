-- The first lanes of these actions of which something can be decided. Those under something that has no room are passed over,
-- unless what is more is refused there: as many as there are slots that are taken, so that not all that wait are read.
with taken as materialized (
    select policy, key from unnest($3::bigint[], $4::text[]) as input (policy, key)
)
select lane.id, lane.parts, lane.turn, lane.priority
from unnest($1::text[], $2::boolean[]) as asked (action_ref, refuses)
cross join lateral (
    select waiting.id, waiting.parts, waiting.turn, waiting.created, waiting.priority
    from attune.admission_lane waiting
    where waiting.action_ref = asked.action_ref and waiting.priority is not null
      and (
          asked.refuses
          or not coalesce((
              select bool_or((part.policy, part.key) in (select policy, key from taken))
              from jsonb_to_recordset(waiting.parts) as part (policy bigint, key text)
          ), false)
      )
    -- A lane that is new has its turn after those that have waited for theirs, lest ever new ones come first.
    order by waiting.priority desc, coalesce(waiting.turn, waiting.created), waiting.id
    limit $5
) lane
order by lane.priority desc, coalesce(lane.turn, lane.created), lane.id
limit $5
