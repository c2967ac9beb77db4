-- one row per item that is in the file and in the codebook, with at least two fielded options
with fielded as (
    select
        item,
        count(*)::integer as k,
    from options
    group by item
)

select
    codebook_items.item_order,
    codebook_items.item,
    codebook_items.integrated,
    codebook_items.topic,
    codebook_items.kind,
    codebook_items.scale,
    codebook_items.question,
    fielded.k,
from codebook_items
join fielded on codebook_items.item = fielded.item
order by codebook_items.item_order
