-- one row per item whose options are not ranked 0, 1, 2 ... as many as the item says
with ranked as (
    select
        item,
        count(distinct code) as options,
        count(distinct position) as positions,
        min(position) as first_position,
        max(position) as last_position,
    from options
    group by item
)

select
    items.item,
    items.k,
    ranked.options,
from items
left join ranked on items.item = ranked.item
where
    ranked.options is distinct from items.k
    or ranked.positions <> items.k
    or ranked.first_position <> 0
    or ranked.last_position <> items.k - 1
order by items.item
