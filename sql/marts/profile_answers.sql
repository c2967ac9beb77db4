-- one row per question, profile and option that somebody chose: summed weights, and summed squared weights
-- Never leaves memory: a profile may be one respondent's.
select
    stg_answers.item,
    profiles.profile,
    options.position,
    sum(profiles.weight) as weight,
    sum(profiles.weight ^ 2) as squared_weight,
from stg_answers
join profiles on stg_answers.respondent_id = profiles.respondent_id
join options on stg_answers.item = options.item and stg_answers.code = options.code
group by all
order by stg_answers.item, profiles.profile, options.position
