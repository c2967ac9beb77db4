-- one row per respondent and item of the pooled survey: the code, or the reason it is missing
with names as (
    select distinct
        file,
        item,
        pooled_item,
    from item_matches
)

select
    file_stg_answers.respondent_id,
    names.pooled_item as item,
    item_matches.pooled_code as code,
    file_stg_answers.missing,
from file_stg_answers
join names on file_stg_answers.file = names.file and file_stg_answers.item = names.item
left join item_matches
    on
        file_stg_answers.file = item_matches.file
        and file_stg_answers.item = item_matches.item
        and file_stg_answers.code = item_matches.code
order by file_stg_answers.respondent_id, item
