-- one row per item and option that was fielded in any of the files, ranked along the scale
with fielded as (
    select distinct
        item_matches.pooled_item as item,
        item_matches.pooled_code as code,
        item_matches.scale_position,
        item_matches.wording,
    from file_options
    join item_matches
        on
            file_options.file = item_matches.file
            and file_options.item = item_matches.item
            and file_options.code = item_matches.code
)

select
    item,
    code,
    (row_number() over scale - 1)::integer as position,
    wording,
from fielded
window scale as (partition by item order by scale_position)
order by item, position
