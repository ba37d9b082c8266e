-- Applies the outcomes of one batch of one partition, and the projector's position behind them, in one step.
--
-- KEYS[1]      the position's key
-- KEYS[2..]    result keys: first those of generation 0, then those of a generation above 0
-- ARGV[1]      the position that the caller expects ('' for none)
-- ARGV[2]      the position to write
-- ARGV[3]      the number of runs of generation 0 that expire at the same time
-- ARGV[4..]    each run's length and expiry time (ms since 1970), then the values of generation 0, then value, expiry and
--              generation of each of the others
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
local runs = tonumber(ARGV[3])
local written = 0
local key = 2
local at = 4 + 2 * runs

for run = 1, runs do
    local expiry = ARGV[3 + 2 * run]
    for _ = 1, tonumber(ARGV[2 + 2 * run]) do
        if call('SET', KEYS[key], ARGV[at], 'NX', 'PXAT', expiry) then
            written = written + 1
        end
        key = key + 1
        at = at + 1
    end
end

for i = key, #KEYS do
    local start = text_or_nothing(redis.pcall('GETRANGE', KEYS[i], 0, 63))
    local held = tonumber(string.match(start, '^{"contract":"[^"]*","generation":(%d+)') or -1)
    if tonumber(ARGV[at + 2]) > held then
        call('SET', KEYS[i], ARGV[at], 'PXAT', ARGV[at + 1])
        written = written + 1
    end
    at = at + 3
end

call('SET', KEYS[1], ARGV[2])
return written
