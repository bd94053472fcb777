# Windows: channelscribe comes back after a reboot, without anybody logged in. In PowerShell as administrator, in the
# folder of the checkout: powershell -ExecutionPolicy Bypass -File deployments\machine\register-task.ps1
$here = (Get-Location).Path
$action = New-ScheduledTaskAction -Execute "$here\.venv\Scripts\channelscribe.exe" -Argument "up --port 4200" -WorkingDirectory $here
$trigger = New-ScheduledTaskTrigger -AtStartup
$settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew `
    -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries
$user = New-ScheduledTaskPrincipal -UserId "$env:USERDOMAIN\$env:USERNAME" -LogonType S4U -RunLevel Limited
Register-ScheduledTask -TaskName "channelscribe" -Action $action -Trigger $trigger -Settings $settings -Principal $user -Force
Start-ScheduledTask -TaskName "channelscribe"
