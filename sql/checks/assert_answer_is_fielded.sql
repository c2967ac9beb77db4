-- one row per item and code that was answered but is not among the fielded options: shares would not sum to one
select
    stg_answers.item,
    stg_answers.code,
    count(*) as answers,
from stg_answers
left join options
    on
        stg_answers.item = options.item
        and stg_answers.code = options.code
where
    stg_answers.code is not null
    and options.code is null
group by stg_answers.item, stg_answers.code
order by stg_answers.item, stg_answers.code
