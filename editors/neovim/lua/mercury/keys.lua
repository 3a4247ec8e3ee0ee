--- Binds keys to actions, in insert mode and in normal mode. If an action has nothing to do, the key has its former
--- effect: its earlier mapping, or its meaning in Neovim. These are no `expr` mappings, because blink.cmp and nvim-cmp,
--- when they pass a key on, take an `expr` mapping that returns nothing for a mapping that did nothing.

local M = {}

-- The prefix of the descriptions of this plugin's mappings.
M.MARK = "Mercury: "

local descriptions = {
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
-- The actions of normal mode; the others belong to insert mode.
local normal_mode_actions = { next_edit = true, dismiss_edit = true }

local former_keys = {} ---@type table<string, string> by mode and key, the keys that have its former effect

--- Keep the former effect of a key under a name of its own.
---@param key string
---@param mode string
---@return string the keys that have this effect
local function save_former_effect(key, mode)
  local name = "<Plug>(mercury-former-" .. key:gsub("[<>|]", "") .. ")"
  local mapping = vim.fn.maparg(key, mode, false, true)
  if mapping.buffer == 1 then
    mapping = {}
    for _, keymap in ipairs(vim.api.nvim_get_keymap(mode)) do
      if keymap.lhsraw == vim.keycode(key) then
        mapping = vim.fn.extend({ buffer = 0 }, keymap)
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

--- Bind a key to an action.
---@param key string
---@param action string
---@param run_action fun(): boolean
local function bind(key, action, run_action)
  local mode = M.mode(action)
  local id = mode .. key
  former_keys[id] = former_keys[id] or save_former_effect(key, mode)
  vim.keymap.set(mode, key, function()
    if not run_action() then
      vim.api.nvim_feedkeys(former_keys[id], "im", false)
    end
  end, { desc = M.MARK .. descriptions[action] })
end

--- Return the mode of an action's keys.
---@param action string
---@return string
function M.mode(action)
  return normal_mode_actions[action] and "n" or "i"
end

--- Return the keys of an action as a list.
---@param keys string|string[]|false
---@return string[]
function M.list(keys)
  return type(keys) == "table" and keys or keys and { keys } or {}
end

--- Bind all configured keys.
---@param keys mercury.Keys
---@param actions table<string, fun(): boolean>
function M.setup(keys, actions)
  for action in pairs(descriptions) do
    for _, key in ipairs(M.list(keys[action])) do
      bind(key, action, actions[action])
    end
  end
end

return M
