# The filesystems of compat.sh, one function each.  A row has $work, a directory of its
# own, and sets:
#
#	command		what relayd is given as --backend, or is run with --plain:
#			{mountfd} or {mountpoint} stands where the program wants its place
#	options		-o of the mount; by default what root's own mounts have
#	store		where the same files are to be seen beside the mount; empty
#			if nowhere (then a second, plain mount shows them at the end)
#	traits		words: ro (it cannot be written to), nolinks (no hard links), nofifo,
#			nocount (nor counts of them), nodangling (the owner of a symbolic link is
#			its target's),
#			nodirect (no O_DIRECT), short (names of 140 bytes at most), nonames
#			(what it does with names and attributes is not what a directory does),
#			noflags (it knows no renameat2() flags)
#
# A row that needs something that is not there says "missing NAME" and is skipped.

# The names, in the order of the table.
compat_names='sshfs bindfs squashfuse fuse-overlayfs gocryptfs passthrough
	passthrough_fh passthrough_ll passthrough_ll-mt passthrough_ll-clone_fd
	passthrough_ll-cached passthrough_hp passthrough_hp-nosplice passthrough_hp-nocache mergerfs
	encfs unionfs-fuse liar'

# Not in the table by default: what these cannot keep is in docs/compatibility.md.
compat_more='sshfs-async gocryptfs-diriv passthrough_ll-writeback disorderfs securefs cryfs
	ntfs-3g exfat-fuse rclone archivemount fuseiso'

needs()
{
	local program

	for program; do
		command -v "$program" >/dev/null || { missing "$program"; return 1; }
	done
}

peer()
{
	bash "$top_srcdir/tests/backends/build" "$1" >"$work/build.log" 2>&1 || { missing "$1: $(tail -n 1 "$work/build.log")"; return 1; }
	peer=$top_builddir/tests/backends/peers/$1
}

# ---- over a network ------------------------------------------------------------

# A server of the row's own, for root with a key that nobody else has.
sshd_start()
{
	local config=$work/sshd_config port

	needs sshd ssh-keygen ssh || return
	mkdir -p /run/sshd
	ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
	ssh-keygen -q -t ed25519 -N '' -f "$work/key"
	cat >"$config" <<-END
		ListenAddress 127.0.0.1
		HostKey $work/host_key
		AuthorizedKeysFile $work/key.pub
		PidFile none
		StrictModes no
		PermitRootLogin yes
		PasswordAuthentication no
		UsePAM yes
		MaxStartups 100
		Subsystem sftp internal-sftp
	END
	# The first port that is free: sshd ends at once where it is not.
	for port in $(shuf -i 20000-40000 -n 20); do
		"$(command -v sshd)" -D -e -f "$config" -p "$port" >>"$work/sshd.log" 2>&1 9>&- &
		sshd_pid=$!
		# It clears its environment, by which the end would find it.
		cleanup_fn eval "process_gone $sshd_pid || kill $sshd_pid"
		wait_for 10 eval "process_gone $sshd_pid || : <>/dev/tcp/127.0.0.1/$port" 2>/dev/null
		process_gone $sshd_pid || break
		sshd_pid=
	done
	[ -n "$sshd_pid" ] || fail "no sshd: $(tail -n 3 "$work/sshd.log")"
	sshd_port=$port
}

sshfs_with()
{
	needs sshfs || return
	sshd_start || return
	mkdir "$work/remote"
	store=$work/remote
	command="sshfs -o $1,port=$sshd_port,IdentityFile=$work/key,UserKnownHostsFile=/dev/null,StrictHostKeyChecking=no,LogLevel=ERROR root@127.0.0.1:$store {mountfd}"
	traits='nofifo nonames nocount nodangling'
}

# It acknowledges a write before the server has it, unless it is told not to.
fs_sshfs() { sshfs_with sshfs_sync; }
fs_sshfs_async() { sshfs_with reconnect; }

fs_rclone()
{
	needs rclone || return
	mkdir "$work/remote"
	store=$work/remote
	command="rclone --config $work/rclone.conf mount --vfs-cache-mode off $store {mountpoint}"
	traits='nolinks nofifo nonames nodirect'
}

# ---- one directory shown as another ---------------------------------------------

fs_bindfs()
{
	needs bindfs || return
	mkdir "$work/store"
	store=$work/store
	command="bindfs $store {mountpoint}"
	traits='nonames'
}

fs_disorderfs()
{
	needs disorderfs || return
	mkdir "$work/store"
	store=$work/store
	command="disorderfs --shuffle-dirents=yes $store {mountpoint}"
	traits='nonames nodirect'
}

fs_mergerfs()
{
	needs mergerfs || return
	mkdir "$work/store" "$work/second"
	store=$work/store
	command="mergerfs -o category.create=ff $work/store:$work/second {mountpoint}"
	traits='nonames nocount nodirect'
}

fs_unionfs_fuse()
{
	needs unionfs || return
	mkdir "$work/store" "$work/lower"
	store=$work/store
	command="unionfs -o cow $store=RW:$work/lower=RO {mountpoint}"
	traits='nonames nocount nodirect'
}

fs_fuse_overlayfs()
{
	needs fuse-overlayfs || return
	mkdir "$work/lower" "$work/upper" "$work/work"
	echo 'from below' >"$work/lower/below"
	command="fuse-overlayfs -o lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work {mountfd}"
	traits='nonames short nocount'
}

# ---- encrypted: what is in the store is seen through another mount -----------------

# By default a directory is two steps, a mkdir() and a file with its vector: a kill
# between them leaves one that gocryptfs itself cannot open any more.  The same holds
# for the two files of a long name.
fs_gocryptfs() { gocryptfs_with -deterministic-names; }
fs_gocryptfs_diriv() { gocryptfs_with ''; }

gocryptfs_with()
{
	needs gocryptfs || return
	mkdir "$work/cipher"
	echo secret >"$work/password"
	gocryptfs -q -init -scryptn 10 $1 -passfile "$work/password" "$work/cipher" >"$work/init.log" 2>&1 ||
		fail "gocryptfs -init: $(cat "$work/init.log")"
	command="gocryptfs -q -passfile $work/password $work/cipher {mountpoint}"
	traits='nonames short'
}

fs_encfs()
{
	needs encfs || return
	mkdir "$work/cipher" "$work/first"
	# The first start makes the configuration.
	encfs --standard --extpass='echo secret' "$work/cipher" "$work/first" >"$work/init.log" 2>&1 ||
		fail "encfs: $(cat "$work/init.log")"
	wait_for 10 is_mounted "$work/first"
	fusermount -u "$work/first"
	command="encfs --extpass='echo secret' $work/cipher {mountpoint}"
	traits='nonames nolinks short nodirect'
}

fs_securefs()
{
	needs securefs || return
	mkdir "$work/cipher"
	securefs create --pass secret "$work/cipher" >"$work/init.log" 2>&1 || fail "securefs: $(cat "$work/init.log")"
	command="securefs mount --pass secret $work/cipher {mountpoint}"
	traits='nonames nolinks nofifo short nodirect'
}

fs_cryfs()
{
	needs cryfs || return
	mkdir "$work/cipher"
	echo secret >"$work/password"
	command="env CRYFS_FRONTEND=noninteractive CRYFS_NO_UPDATE_CHECK=true CRYFS_LOCAL_STATE_DIR=$work/state sh -c 'exec cryfs -f $work/cipher {mountpoint} <$work/password'"
	traits='nonames nolinks nofifo nodirect'
}

# ---- images ----------------------------------------------------------------------

fs_squashfuse()
{
	needs squashfuse mksquashfs || return
	mksquashfs "$source" "$work/image" -quiet -no-progress >"$work/init.log" 2>&1 || fail "mksquashfs: $(cat "$work/init.log")"
	command="squashfuse $work/image {mountfd}"
	traits='ro nocount'
}

fs_fuseiso()
{
	needs fuseiso genisoimage || return
	genisoimage -quiet -R -o "$work/image" "$source" >"$work/init.log" 2>&1 || fail "genisoimage: $(cat "$work/init.log")"
	command="fuseiso $work/image {mountpoint}"
	traits='ro nolinks'
}

fs_archivemount()
{
	needs archivemount || return
	tar -C "$source" -cf "$work/archive.tar" .
	command="archivemount -o readonly $work/archive.tar {mountpoint}"
	traits='ro nolinks'
}

fs_ntfs_3g()
{
	needs lowntfs-3g mkntfs || return
	truncate -s 256M "$work/image"
	mkntfs -q -F -Q "$work/image" >"$work/init.log" 2>&1
	command="lowntfs-3g -o permissions $work/image {mountpoint}"
	# A life that finds its own image in /proc/mounts refuses to be the second there.
	options=allow_other,suid,dev,fsname=ntfs
	traits='nonames nodirect'
}

fs_exfat_fuse()
{
	needs mount.exfat-fuse mkfs.exfat || return
	truncate -s 256M "$work/image"
	mkfs.exfat "$work/image" >"$work/init.log" 2>&1
	command="mount.exfat-fuse $work/image {mountpoint}"
	traits='nonames nolinks nofifo nodirect'
}

# ---- libfuse's own -----------------------------------------------------------------

# It passes O_DIRECT on to the store, but not the alignment of what is written.
fs_passthrough()
{
	peer passthrough || return
	mkdir "$work/store"
	store=$work/store
	command="$peer -o modules=subdir,subdir=$store {mountfd}"
	traits='nonames nodirect'
}

fs_passthrough_fh()
{
	peer passthrough_fh || return
	mkdir "$work/store"
	store=$work/store
	command="$peer -o modules=subdir,subdir=$store {mountfd}"
	traits='nonames nodirect'
}

passthrough_ll_with()
{
	peer passthrough_ll || return
	mkdir "$work/store"
	store=$work/store
	command="$peer $1 -o source=$store,xattr,flock$2 {mountfd}"
	options=allow_other,suid,dev,default_permissions
	traits='noflags nodirect'
}

# With cache=never each read() is a request.
fs_passthrough_ll() { passthrough_ll_with -s ,cache=never; }
fs_passthrough_ll_mt() { passthrough_ll_with '' ,cache=auto,timeout=0; }
# The preload library knows how to clone a channel; a real /dev/fuse would refuse.
fs_passthrough_ll_clone_fd()
{
	passthrough_ll_with '-o clone_fd' ,cache=auto,timeout=1 || return
	command=${command/\{mountfd\}/\{mountpoint\}}
}
fs_passthrough_ll_cached() { passthrough_ll_with '' ,cache=always; }
fs_passthrough_ll_writeback() { passthrough_ll_with '' ,cache=always,writeback; }

passthrough_hp_with()
{
	peer passthrough_hp || return
	mkdir "$work/store"
	store=$work/store
	command="$peer $1 $store {mountfd}"
	options=allow_other,suid,dev,default_permissions
	traits='noflags nonames nodirect'
}

fs_passthrough_hp() { passthrough_hp_with ''; }
fs_passthrough_hp_nosplice() { passthrough_hp_with '--nosplice'; }
fs_passthrough_hp_nocache() { passthrough_hp_with '--nocache --single'; }

# ---- ours: whatever it says means nothing in its next life ----------------------------

fs_liar()
{
	mkdir "$work/store"
	store=$work/store
	command="$top_builddir/tests/backends/liar --collide --reuse --ino=true --cookies=shuffle --hardlinks=distinct --threads=4 $store {mountfd}"
	traits=''
}
