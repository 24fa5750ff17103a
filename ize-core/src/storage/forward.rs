//! What a storage that wraps another one passes on as it is.

/// Writes those methods of [`FileSystemStorage`](crate::storage::FileSystemStorage) that only ask, for a storage that keeps
/// another one in a field and lets it answer: `head`, `ops`, `op_at_time`, `node`, `entry`, `entries`, `names`, `bindings`,
/// `read`, `extents`, `xattrs` and `refs`.
/// The others are the wrapper's own affair, those with a default too; see [`forward_upkeep`](crate::forward_upkeep).
#[macro_export]
macro_rules! forward_queries {
    ($inner:ident) => {
        fn head(&self) -> $crate::storage::Result<$crate::storage::Head> {
            self.$inner.head()
        }

        fn ops(
            &self,
            query: &$crate::storage::OpQuery,
        ) -> $crate::storage::Result<::std::vec::Vec<$crate::model::OpCode>> {
            self.$inner.ops(query)
        }

        fn op_at_time(&self, time: $crate::model::Timestamp) -> $crate::storage::Result<$crate::model::OpId> {
            self.$inner.op_at_time(time)
        }

        fn node(
            &self,
            view: $crate::model::View,
            file: $crate::model::FileId,
        ) -> $crate::storage::Result<::std::option::Option<$crate::model::FileMetadata>> {
            self.$inner.node(view, file)
        }

        fn entry(
            &self,
            view: $crate::model::View,
            dir: $crate::model::FileId,
            name: &$crate::model::Name,
        ) -> $crate::storage::Result<::std::option::Option<$crate::model::FileId>> {
            self.$inner.entry(view, dir, name)
        }

        fn entries(
            &self,
            view: $crate::model::View,
            dir: $crate::model::FileId,
            after: ::std::option::Option<&$crate::model::Name>,
            max: usize,
        ) -> $crate::storage::Result<::std::vec::Vec<$crate::storage::DirEntry>> {
            self.$inner.entries(view, dir, after, max)
        }

        fn names(
            &self,
            view: $crate::model::View,
            file: $crate::model::FileId,
        ) -> $crate::storage::Result<::std::vec::Vec<$crate::model::Entry>> {
            self.$inner.names(view, file)
        }

        fn bindings(
            &self,
            view: $crate::model::View,
            entry: &$crate::model::Entry,
            max: usize,
        ) -> $crate::storage::Result<::std::vec::Vec<$crate::storage::Binding>> {
            self.$inner.bindings(view, entry, max)
        }

        fn read(
            &self,
            view: $crate::model::View,
            file: $crate::model::FileId,
            offset: u64,
            buf: &mut [u8],
        ) -> $crate::storage::Result<usize> {
            self.$inner.read(view, file, offset, buf)
        }

        fn extents(
            &self,
            view: $crate::model::View,
            file: $crate::model::FileId,
            from: u64,
            max: usize,
        ) -> $crate::storage::Result<::std::vec::Vec<$crate::storage::Extent>> {
            self.$inner.extents(view, file, from, max)
        }

        fn xattrs(
            &self,
            view: $crate::model::View,
            file: $crate::model::FileId,
        ) -> $crate::storage::Result<::std::vec::Vec<$crate::storage::Xattr>> {
            self.$inner.xattrs(view, file)
        }

        fn refs(&self) -> $crate::storage::Result<::std::vec::Vec<$crate::storage::Ref>> {
            self.$inner.refs()
        }
    };
}

/// Writes `info`, `set_ref`, `verify` and `repair` of [`FileSystemStorage`](crate::storage::FileSystemStorage) for a storage that
/// keeps another one in a field and adds nothing to them.
#[macro_export]
macro_rules! forward_upkeep {
    ($inner:ident) => {
        fn info(&self) -> $crate::storage::Result<$crate::storage::StorageInfo> {
            self.$inner.info()
        }

        fn set_ref(
            &self,
            name: &$crate::storage::RefName,
            target: ::std::option::Option<&$crate::storage::RefTarget>,
        ) -> $crate::storage::Result<()> {
            self.$inner.set_ref(name, target)
        }

        fn verify(&self, report: &mut dyn ::std::ops::FnMut($crate::storage::Finding)) -> $crate::storage::Result<()> {
            self.$inner.verify(report)
        }

        fn repair(&self, report: &mut dyn ::std::ops::FnMut($crate::storage::Finding)) -> $crate::storage::Result<()> {
            self.$inner.repair(report)
        }
    };
}
