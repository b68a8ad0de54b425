-- Stands in front of the erasure: before its copy in the same partition, or in an older generation.
(
    ${own_epoch} < {epoch:UInt16}
    OR (
        ${own_epoch} = {epoch:UInt16}
        AND ${own_offset} < transform(${own_partition}, {partitions:Array(UInt32)}, {offsets:Array(UInt64)}, toUInt64(0))
    )
)
