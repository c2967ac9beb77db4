-- one row per trait that no cell was mapped to: staging and the value map disagree
with traits as (
    select unnest(map_entries(traits), recursive := true) from stg_respondents
)

select
    traits.key as dimension,
    traits.value as level,
    count(*) as respondents,
from traits
left join value_map
    on
        traits.key = value_map.dimension
        and traits.value = value_map.level
where value_map.level is null
group by traits.key, traits.value
order by dimension, level
