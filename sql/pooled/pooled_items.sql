-- one row per item that every file fielded, as the newest file's codebook has it
with fielded as (
    select
        item,
        count(*)::integer as k,
    from pooled_options
    group by item
)

select file_items.* exclude (file) replace (fielded.k as k),
from file_items
join fielded on file_items.item = fielded.item
where file_items.file = $newest
order by file_items.item_order
