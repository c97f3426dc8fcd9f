select latest.*
from (
    -- Whatever rule the trigger had by then; which of them it still had is for its latest version to say.
    select distinct rule_ref
    from attune.rule_version
    where trigger_ref = $1 and rule_set_version <= $2 and ($3::text is null or rule_ref > $3)
) candidate
cross join lateral (
    select *
    from attune.rule_version
    where rule_ref = candidate.rule_ref and rule_set_version <= $2
    order by id desc
    limit 1
) latest
where latest.trigger_ref = $1 and not latest.removed
order by latest.rule_ref
limit $4
