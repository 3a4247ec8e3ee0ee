--- Binds keys in insert mode to actions. Where an action has nothing to do, the key does what it did before: the
--- mapping that it had, or its meaning in Neovim. No `expr` mappings, for blink.cmp and nvim-cmp, when they pass a key
--- on, take one that returns nothing for one that did nothing.

local M = {}

M.MARK = "Mercury: " -- with which our mappings' descriptions begin

local meanings = {
  accept = "accept the suggestion",
  accept_word = "accept its next word",
  accept_line = "accept the rest of its line",
  next = "next suggestion",
  previous = "previous suggestion",
  ask = "ask for suggestions",
  dismiss = "dismiss the suggestion",
  next_edit = "go to the next edit, or make it",
  dismiss_edit = "dismiss the next edit",
}
local normal = { next_edit = true, dismiss_edit = true } -- the others are insert mode's

local formers = {} ---@type table<string, string> by mode and key, what to type for what it did before

--- Keep what a key did before under a name of its own.
---@param key string
---@param mode string
---@return string what to type for it
local function former(key, mode)
  local name = "<Plug>(mercury-former-" .. key:gsub("[<>|]", "") .. ")"
  local mapping = vim.fn.maparg(key, mode, false, true)
  if mapping.buffer == 1 then
    mapping = {}
    for _, one in ipairs(vim.api.nvim_get_keymap(mode)) do
      if one.lhsraw == vim.keycode(key) then
        mapping = vim.fn.extend({ buffer = 0 }, one)
      end
    end
  end
  if vim.tbl_isempty(mapping) then
    vim.keymap.set(mode, name, key)
  else
    mapping.lhs, mapping.lhsraw, mapping.lhsrawalt = name, vim.keycode(name), nil
    mapping.mode = mode
    mapping.mode_bits = nil
    vim.fn.mapset(mapping)
  end
  return vim.keycode(name)
end

--- Bind a key.
---@param key string
---@param action string
---@param act fun(): boolean
local function bind(key, action, act)
  local mode = M.mode(action)
  local own = mode .. key
  formers[own] = formers[own] or former(key, mode)
  vim.keymap.set(mode, key, function()
    if not act() then
      vim.api.nvim_feedkeys(formers[own], "im", false)
    end
  end, { desc = M.MARK .. meanings[action] })
end

--- The mode of an action's keys.
---@param action string
---@return string
function M.mode(action)
  return normal[action] and "n" or "i"
end

--- The keys of an action, as a list.
---@param keys string|string[]|false
---@return string[]
function M.list(keys)
  return type(keys) == "table" and keys or keys and { keys } or {}
end

--- Bind all that are configured.
---@param keys mercury.Keys
---@param actions table<string, fun(): boolean>
function M.setup(keys, actions)
  for action in pairs(meanings) do
    for _, key in ipairs(M.list(keys[action])) do
      bind(key, action, actions[action])
    end
  end
end

return M
