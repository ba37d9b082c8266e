-- Applies the outcomes of one batch of one partition, and the projector's position behind them, in one step.
--
-- KEYS[1]      the position's key
-- KEYS[2..]    result keys: first `count` of generation 0, then those of a generation above 0
-- ARGV[1]      the position that the caller expects ('' for none)
-- ARGV[2]      the position to write
-- ARGV[3]      count
-- ARGV[4..]    `count` values, `count` expiry times (ms since 1970), then value, expiry and generation of each of the others
--
-- Answers how many results were written; -1, with nothing changed, where the position is not the expected one.
--
-- Redis refuses for lack of memory, or as a replica, before a script's first write and never after it, and nothing else here
-- can fail between the writes: the results and the position are written together or not at all.

local function text_or_nothing(answer)
    if type(answer) == 'string' then
        return answer
    end
    return '' -- not there, or a key of another kind, which no projector wrote
end

if text_or_nothing(redis.pcall('GET', KEYS[1])) ~= ARGV[1] then
    return -1
end

local call = redis.call
local count = tonumber(ARGV[3])
local written = 0

for i = 1, count do
    if call('SET', KEYS[i + 1], ARGV[i + 3], 'NX', 'PXAT', ARGV[i + 3 + count]) then
        written = written + 1
    end
end

local at = 3 + 2 * count
for i = count + 2, #KEYS do
    local start = text_or_nothing(redis.pcall('GETRANGE', KEYS[i], 0, 63))
    local held = tonumber(string.match(start, '^{"contract":"[^"]*","generation":(%d+)') or -1)
    if tonumber(ARGV[at + 3]) > held then
        call('SET', KEYS[i], ARGV[at + 1], 'PXAT', ARGV[at + 2])
        written = written + 1
    end
    at = at + 3
end

call('SET', KEYS[1], ARGV[2])
return written
