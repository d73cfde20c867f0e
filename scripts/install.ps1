# Installs the program downhill from its releases, without administrator's rights:
#   powershell -ExecutionPolicy Bypass -File install.ps1 [-To DIR] [-Version VERSION]
# DIR is %LOCALAPPDATA%\downhill\bin by default, VERSION the latest one. Windows 10 or newer on x86-64.
# The environment variable DOWNHILL_RELEASES is the address of the releases, where it is not that of the repository below.
# Exit codes: 1 a download failed or is damaged, 3 no program for this machine.
param([string]$To = '', [string]$Version = '')
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

# Written by `python3 scripts/packaging.py address URL`.
$repository = 'https://example.com/OWNER/downhill'

function Stop-With([int]$Code, [string]$Message, [string]$Hint) {
    [Console]::Error.WriteLine("error: $Message")
    [Console]::Error.WriteLine("hint: $Hint")
    exit $Code
}

function Get-File([string]$Url, [string]$File) {
    try {
        # The parser of Internet Explorer may be absent.
        Invoke-WebRequest -UseBasicParsing -Uri $Url -OutFile $File
    } catch {
        Stop-With 1 "``$Url`` cannot be downloaded: $($_.Exception.Message)" `
            "check the network and, with -Version, that this version exists: $releases; DOWNHILL_RELEASES names a mirror"
    }
}

if ([Environment]::OSVersion.Platform -ne 'Win32NT') {
    Stop-With 3 'this is not Windows' 'install.sh of the same release installs it on Linux and macOS'
}
$processor = if ($env:PROCESSOR_ARCHITEW6432) { $env:PROCESSOR_ARCHITEW6432 } else { $env:PROCESSOR_ARCHITECTURE }
# Windows 11 on arm64 runs programs for x86-64.
if ($processor -ne 'AMD64' -and $processor -ne 'ARM64') {
    Stop-With 3 "there is no program for Windows on $processor" `
        '`cargo install --locked downhill` builds it from source'
}
$releases = if ($env:DOWNHILL_RELEASES) { $env:DOWNHILL_RELEASES.TrimEnd('/') } else { "$repository/releases" }
if ($releases.StartsWith('https://example.com/')) {
    Stop-With 1 'this copy of the installer names no repository' 'set the environment variable DOWNHILL_RELEASES'
}
if (-not $To) { $To = Join-Path $env:LOCALAPPDATA 'downhill\bin' }
# Windows PowerShell 5.1 begins with TLS 1.0.
[Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor 3072

$work = Join-Path ([IO.Path]::GetTempPath()) ([IO.Path]::GetRandomFileName())
New-Item -ItemType Directory -Path $work | Out-Null
try {
    if (-not $Version) {
        Get-File "$releases/latest/download/VERSION" "$work\VERSION"
        $Version = (Get-Content -Raw "$work\VERSION").Trim()
    }
    $Version = $Version -replace '^v', ''
    if ($Version -notmatch '^[0-9A-Za-z.+-]+$') {
        Stop-With 1 "the latest version is ``$Version``, which is not a version" 'name one: -Version VERSION'
    }
    $name = "downhill-$Version-x86_64-pc-windows-msvc"
    Write-Host "downloading $name"
    Get-File "$releases/download/v$Version/$name.zip.sha256" "$work\sha256"
    Get-File "$releases/download/v$Version/$name.zip" "$work\archive.zip"
    $expected = ((Get-Content -Raw "$work\sha256") -split '\s+')[0]
    $found = (Get-FileHash -Algorithm SHA256 "$work\archive.zip").Hash
    if ($found -ne $expected) {
        Stop-With 1 "the checksum of ``$name.zip`` is $($found.ToLower()), not $expected" `
            'the download is damaged or was changed: try again, and report it if that does not help'
    }
    Expand-Archive -Path "$work\archive.zip" -DestinationPath $work
    New-Item -ItemType Directory -Force -Path $To | Out-Null
    try {
        Copy-Item -Force "$work\$name\downhill.exe" "$To\downhill.exe"
    } catch {
        Stop-With 1 "``$To\downhill.exe`` cannot be written: $($_.Exception.Message)" `
            'end programs that run it, or name another folder: -To DIR'
    }
} finally {
    Remove-Item -Recurse -Force $work
}
$installed = & "$To\downhill.exe" --version
if ($LASTEXITCODE -ne 0) {
    Stop-With 1 "``$To\downhill.exe`` does not run" '`cargo install --locked downhill` builds it from source'
}
Write-Host "installed ${installed}: $To\downhill.exe"
if (($env:PATH -split ';') -notcontains $To) {
    Write-Host "$To is not in PATH. Add it for this user:"
    Write-Host "  [Environment]::SetEnvironmentVariable('PATH', [Environment]::GetEnvironmentVariable('PATH', 'User') + ';$To', 'User')"
}
# With 'Stop', Windows PowerShell 5.1 takes a line on standard error for a failure.
$ErrorActionPreference = 'Continue'
& "$To\downhill.exe" devices *> $null
if ($LASTEXITCODE -eq 3) { Write-Host 'No GPU is usable yet: install the driver of its vendor, for Vulkan or DirectX 12.' }
