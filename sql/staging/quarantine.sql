-- one row per column and cell that could not be understood
with unknown_values as (
    select
        "column",
        cell,
        case
            when dimension is null then 'not an option of the item in the codebook'
            else 'not a level of the dimension ' || dimension
        end as reason,
        respondents,
    from value_map
    where rule = 'unknown'
),

unusable_weights as (
    select
        $weight_column as "column",
        cell,
        'not a positive number: the respondent is left out' as reason,
        count(*) as respondents,
    from raw_weights
    where weight is null
    group by cell
)

select * from unknown_values
union all
select * from unusable_weights
order by "column", cell, reason
