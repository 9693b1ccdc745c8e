-- Let an item that has an end live longer.
--
-- KEYS[1]  the item, a hash
-- ARGV[1]  until when it lives, in milliseconds since the epoch
-- Result   1, or 0: there is no such item, or it has no end
--
-- Keeps: an item without an end gets none. In one script, because it may be put again without one at any time.

if redis.call('PTTL', KEYS[1]) < 0 then
    return 0
end
redis.call('HSET', KEYS[1], 'x', ARGV[1])
return redis.call('PEXPIREAT', KEYS[1], ARGV[1])
