--- The user's actions on ghost text, the same in every version of Neovim. Each action returns whether it had anything
--- to do; if not, the pressed key has its former meaning.

local drawn = require("mercury.drawn")
local menu = require("mercury.menu")
local native = require("mercury.native")
local next_edit = require("mercury.next_edit")
local server = require("mercury.server")
local suggestion = require("mercury.suggestion")

local M = {}

--- Take the suggestion at the cursor; from then on this plugin draws it. Return the suggestion and its rest, or whether
--- Neovim has accepted it itself.
---@return mercury.Suggestion?, string?, boolean?
local function taken()
  local one, rest = drawn.current()
  if not one and M.native then
    local theirs, accepted = native.take()
    if accepted then
      return nil, nil, true
    elseif theirs and suggestion.rest(theirs) then
      drawn.adopt({ theirs })
      one, rest = drawn.current()
    end
  end
  return one, rest
end

--- Insert a part of the suggestion; after the last part, tell the server that it was accepted.
---@param choose fun(rest: string): string
---@return boolean
local function accept(choose)
  local one, rest, accepted = taken()
  if not one or not rest then
    return accepted or false
  end
  if suggestion.put(one, rest, choose(rest)) then
    drawn.clear()
    local client = vim.lsp.get_client_by_id(one.client_id)
    if one.command and client then
      client:exec_cmd(one.command, { bufnr = one.buf })
    end
  else
    drawn.adopt({ one })
  end
  return true
end

--- Accept the whole suggestion. While a completion menu is open, the key belongs to the menu.
function M.accept()
  if menu.is_open() then
    return false
  end
  return accept(function(rest)
    return rest
  end) or next_edit.take_seen()
end

--- Jump to the next edit, or make it (in normal mode).
M.next_edit = next_edit.take

M.dismiss_edit = next_edit.dismiss

function M.accept_word()
  return accept(suggestion.word)
end

function M.accept_line()
  return accept(suggestion.line)
end

--- Return whether two suggestions would insert the same text now, however much of each is already typed.
local function same(one, other)
  return suggestion.rest(one) == suggestion.rest(other)
end

--- Return the index of the suggestion that comes `count` places after the drawn suggestion.
local function after(list, one, count)
  for i, other in ipairs(list) do
    if one and same(other, one) then
      return (i - 1 + count) % #list + 1
    end
  end
  return 1
end

--- Request suggestions manually, and go on from the drawn suggestion if there are others.
local function ask(count)
  local one = taken()
  return drawn.ask(drawn.INVOKED, function(list)
    if M.native then
      -- Put away a suggestion that Neovim has received in the meantime.
      native.take()
    end
    if #list == 0 then
      server.say("there is nothing to suggest here; `:Mercury explain` tells why.")
    elseif #list == 1 and one and same(list[1], one) and count ~= 0 then
      server.say("there is no other suggestion.")
      drawn.adopt(list, 1, true)
    else
      drawn.adopt(list, after(list, one, count), true)
    end
  end)
end

local function cycle(count)
  return drawn.turn(count) or ask(count)
end

function M.next()
  return cycle(1)
end

function M.previous()
  return cycle(-1)
end

function M.ask()
  return ask(0)
end

function M.dismiss()
  local one = taken()
  drawn.clear()
  return one ~= nil
end

return M
