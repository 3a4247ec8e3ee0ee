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
local function take_suggestion()
  local current, rest = drawn.current()
  if not current and M.native then
    local native_suggestion, accepted = native.take()
    if accepted then
      return nil, nil, true
    elseif native_suggestion and suggestion.rest(native_suggestion) then
      drawn.show({ native_suggestion })
      current, rest = drawn.current()
    end
  end
  return current, rest
end

--- Insert a part of the suggestion; after the last part, tell the server that it was accepted.
---@param choose_part fun(rest: string): string
---@return boolean
local function accept(choose_part)
  local current, rest, accepted = take_suggestion()
  if not current or not rest then
    return accepted or false
  end
  if suggestion.put(current, rest, choose_part(rest)) then
    drawn.clear()
    local client = vim.lsp.get_client_by_id(current.client_id)
    if current.command and client then
      client:exec_cmd(current.command, { bufnr = current.buf })
    end
  else
    drawn.show({ current })
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
  end) or next_edit.take_if_visible()
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
local function insert_same_text(current, other)
  return suggestion.rest(current) == suggestion.rest(other)
end

--- Return the index of the suggestion that comes `count` places after the drawn suggestion.
local function index_after(list, current, count)
  for i, other in ipairs(list) do
    if current and insert_same_text(other, current) then
      return (i - 1 + count) % #list + 1
    end
  end
  return 1
end

--- Request suggestions manually, and go on from the drawn suggestion if there are others.
local function request_manually(count)
  local current = take_suggestion()
  return drawn.request(drawn.INVOKED, function(list)
    if M.native then
      -- Put away a suggestion that Neovim has received in the meantime.
      native.take()
    end
    if #list == 0 then
      server.say("there is nothing to suggest here; `:Mercury explain` tells why.")
    elseif #list == 1 and current and insert_same_text(list[1], current) and count ~= 0 then
      server.say("there is no other suggestion.")
      drawn.show(list, 1, true)
    else
      drawn.show(list, index_after(list, current, count), true)
    end
  end)
end

local function cycle(count)
  return drawn.cycle(count) or request_manually(count)
end

function M.next()
  return cycle(1)
end

function M.previous()
  return cycle(-1)
end

function M.ask()
  return request_manually(0)
end

function M.dismiss()
  local current = take_suggestion()
  drawn.clear()
  return current ~= nil
end

return M
