-- one row per respondent and item: the code, or the reason it is missing
-- Ordered, so that equal files give equal sums of weights to the last bit, however many threads stage them.
select
    stg_respondents.respondent_id,
    items.item,
    value_map.code,
    case
        when value_map.rule = 'unknown' then 'quarantined'
        else value_map.missing
    end as missing,
from raw_cells
join items on raw_cells."column" = items.item
join stg_respondents on raw_cells.respondent_id = stg_respondents.respondent_id
join value_map
    on
        raw_cells."column" = value_map."column"
        and raw_cells.cell = value_map.cell
        and value_map.dimension is null
order by stg_respondents.respondent_id, items.item
