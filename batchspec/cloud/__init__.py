"""The only room that knows Azure: readers and hands on a Batch and a Storage account.

:func:`batchspec.cloud.open.open_account` is the door. What comes out speaks the ports that
``observe`` and ``apply`` declare; no SDK model, SDK error or secret leaves this room. Importing the
package imports nothing of Azure: that happens when an account is opened.
"""
