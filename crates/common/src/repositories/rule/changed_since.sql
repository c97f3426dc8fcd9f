-- The versions of rules that count from a later version of the rule set than $1, and the present one. A removal that went
-- with the pack may have taken triggers and actions along.
select rule_set.version as rule_set_version, changed.rule_set_version as changed_in, changed.rule_ref, changed.with_pack
from attune.rule_set
left join lateral (
    select rule_set_version, rule_ref, removed and definition ->> 'pack' is not null as with_pack
    from attune.rule_version
    where rule_set_version > $1
    order by rule_set_version
    limit $2
) changed on true
