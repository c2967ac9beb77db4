-- one row per respondent: the weight, or null where the cell is no positive number
-- Text exports write a weight of 1 as the label "No weighting"; $weight_column is null when the study takes none.
with cells as (
    select
        raw_responses.respondent_id,
        raw_cells.cell,
        try_cast(raw_cells.cell as double) as number,
    from raw_responses
    left join raw_cells
        on
            raw_responses.respondent_id = raw_cells.respondent_id
            and raw_cells."column" = $weight_column
)

select
    respondent_id,
    cell,
    case
        when $weight_column is null or lower(trim(cell)) = 'no weighting' then 1.0
        when isfinite(number) and number > 0 then number
    end as weight,
from cells
