-- Take out of the lists of a namespace the keys whose items are gone, and the namespace when it is empty.
--
-- KEYS[1]  sorted set: the paths of the namespaces, by their arrival
-- KEYS[2]  sorted set: the keys in this namespace, by their arrival
-- KEYS[3…] the items to check
-- ARGV[1]  the path of the namespace
-- ARGV[2…] the key of each item, in the order of KEYS[3…]
-- Result   how many keys were taken out
--
-- Keeps: a row that is there is listed. In one script, because an item may be put again at any time.

local gone = 0
for place = 3, #KEYS do
    if redis.call('EXISTS', KEYS[place]) == 0 then
        gone = gone + redis.call('ZREM', KEYS[2], ARGV[place - 1])
    end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('ZREM', KEYS[1], ARGV[1])
end
return gone
