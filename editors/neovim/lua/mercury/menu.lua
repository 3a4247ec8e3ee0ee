--- Completion menus that may be open beside the ghost text: Neovim's own, blink.cmp's and nvim-cmp's. Knows of the
--- latter only what they document: `is_menu_visible` and the events BlinkCmpMenuOpen and BlinkCmpMenuClose;
--- `visible` and the events menu_opened and menu_closed.

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

--- Whether a menu is open.
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

--- nvim-cmp is often loaded only when it is needed.
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

--- Call a function whenever a menu was opened or closed.
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
