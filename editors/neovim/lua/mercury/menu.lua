--- Watches the completion menus that may be open at the same time as ghost text: those of Neovim, blink.cmp and
--- nvim-cmp. It uses only the documented parts of both plugins: `is_menu_visible` and the events BlinkCmpMenuOpen and
--- BlinkCmpMenuClose; `visible` and the events menu_opened and menu_closed.

local M = {}

local listeners = {} ---@type fun(open: boolean)[]
local watching, hears_cmp = false, false

local function says_yes(module, name)
  local loaded = package.loaded[module]
  local ask = type(loaded) == "table" and loaded[name]
  if not ask then
    return false
  end
  local fine, answer = pcall(ask)
  return fine and answer == true
end

--- Return whether a menu is open.
---@return boolean
function M.is_open()
  return vim.fn.pumvisible() == 1
    or says_yes("blink.cmp", "is_menu_visible")
    or says_yes("cmp", "visible")
end

local function tell(open)
  vim.schedule(function()
    for _, listener in ipairs(listeners) do
      listener(open)
    end
  end)
end

--- Listen to nvim-cmp's events, once it is loaded, which is often only at the first need.
local function hear_cmp()
  local cmp = package.loaded["cmp"]
  if hears_cmp or type(cmp) ~= "table" or not cmp.event then
    return
  end
  hears_cmp = true
  cmp.event:on("menu_opened", function()
    tell(true)
  end)
  cmp.event:on("menu_closed", function()
    tell(false)
  end)
end

--- Call a function whenever a menu is opened or closed.
---@param listener fun(open: boolean)
function M.watch(listener)
  table.insert(listeners, listener)
  if watching then
    return
  end
  watching = true
  local group = vim.api.nvim_create_augroup("mercury.menu", {})
  local function on(event, pattern, open)
    vim.api.nvim_create_autocmd(event, {
      group = group,
      pattern = pattern,
      callback = function()
        tell(open)
      end,
    })
  end
  on("CompleteChanged", "*", true)
  on("CompleteDone", "*", false)
  on("User", "BlinkCmpMenuOpen", true)
  on("User", "BlinkCmpMenuClose", false)
  vim.api.nvim_create_autocmd("InsertEnter", { group = group, callback = hear_cmp })
end

return M
