-- What was admitted, by policy and by the values that it counts by.
select part.policy, part.key,
       count(*) filter (where not admission.ended) as running,
       count(*) filter (
           where admission.admitted > clock_timestamp() - make_interval(secs => policy.rate_seconds)
       ) as recent
from attune.admission
join attune.admission_lane lane on lane.id = admission.lane
cross join lateral jsonb_to_recordset(lane.parts) as part (policy bigint, key text)
join attune.policy on policy.id = part.policy
where admission.admitted is not null
group by part.policy, part.key
