// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title Moves many ERC-721 tickets of one holder in one transaction; one bad item never costs the others.
/// @notice An item is moved if and only if it is neither in an `ItemFailed` event nor at or after the index of an
///         `ItemsSkipped` event, and the token logged its `Transfer` in the same receipt.
contract TransferRouter is Ownable, ReentrancyGuardTransient {
    /// @notice Gas offered to one item among several. Moving an OpenZeppelin ticket takes 35,000 to a fresh wallet;
    ///         the rest is for a recipient contract's hook.
    uint256 public constant ITEM_GAS_CAP = 300_000;

    /// @notice Gas kept back for the events after the item (a failed one, skipped ones, the batch): measured 10,000.
    uint256 public constant RESERVE_GAS = 30_000;

    /// @notice An item is tried only with this much left: by EIP-150 a call gets 63/64 of it, which must cover the cap.
    uint256 public constant MIN_GAS_PER_ITEM = ITEM_GAS_CAP + ITEM_GAS_CAP / 63 + RESERVE_GAS;

    uint256 private constant MAX_REASON_BYTES = 256;

    /// @dev The selector of safeTransferFrom(address,address,uint256), left-aligned: the assembly below takes literals.
    bytes32 private constant SAFE_TRANSFER_FROM = 0x42842e0e00000000000000000000000000000000000000000000000000000000;

    /// @notice Who may call transferMany (the lanes).
    mapping(address operator => bool) public isOperator;

    /// @notice The block in which a key was used, 0 if never: tells where to look for its BatchExecuted event.
    mapping(bytes32 key => uint256) public blockOf;

    event OperatorSet(address indexed operator, bool allowed);

    /// @notice One per transferMany. `attempted` is `items` unless the rest was skipped.
    event BatchExecuted(bytes32 indexed key, uint256 items, uint256 attempted);

    /// @notice An item that reverted, with the first 256 bytes of its revert data; `burnedCap`: it used (nearly) all gas
    ///         it was offered, so the data may be misleading and the item deserves a transaction of its own.
    event ItemFailed(bytes32 indexed key, uint256 index, bool burnedCap, bytes reason);

    /// @notice The items from `firstIndex` on weren't tried, because too little gas was left.
    event ItemsSkipped(bytes32 indexed key, uint256 firstIndex);

    error NotOperator(address caller);
    error KeyUsed(bytes32 key);
    error LengthMismatch(uint256 recipients, uint256 ids);
    error NotAContract(address token);

    constructor(address admin) Ownable(admin) {}

    /// @notice Names or dismisses an operator.
    function setOperator(address operator, bool allowed) external onlyOwner {
        isOperator[operator] = allowed;
        emit OperatorSet(operator, allowed);
    }

    /// @notice Moves ids[i] from `from` to to[i] with safeTransferFrom, each on its own.
    /// @param key Never accepted twice, so the same batch in two transactions moves nothing twice.
    function transferMany(
        bytes32 key,
        address token,
        address from,
        address[] calldata to,
        uint256[] calldata ids
    ) external nonReentrant {
        if (!isOperator[msg.sender]) revert NotOperator(msg.sender);
        if (blockOf[key] != 0) revert KeyUsed(key);
        if (ids.length == 0 || to.length != ids.length) revert LengthMismatch(to.length, ids.length);
        if (token.code.length == 0) revert NotAContract(token);
        blockOf[key] = block.number;
        uint256 attempted = _transferEach(key, token, from, to, ids);
        if (attempted < ids.length) emit ItemsSkipped(key, attempted);
        emit BatchExecuted(key, ids.length, attempted);
    }

    /// @dev Returns how many items were tried. Gas only falls, so the first item with too little ends the loop.
    function _transferEach(
        bytes32 key,
        address token,
        address from,
        address[] calldata to,
        uint256[] calldata ids
    ) private returns (uint256 index) {
        uint256 count = ids.length;
        for (; index < count; ++index) {
            uint256 left = gasleft();
            if (left < MIN_GAS_PER_ITEM) break;
            // Alone, an item may use all there is: the second chance of one that burned its cap.
            uint256 offered = count == 1 ? left - RESERVE_GAS : ITEM_GAS_CAP;
            if (!_safeTransfer(token, from, to[index], ids[index], offered)) {
                // 7/8: each call frame on the way down kept 1/64 back, and the token may revert with what it kept.
                bool burnedCap = left - gasleft() >= offered - offered / 8;
                emit ItemFailed(key, index, burnedCap, _boundedReason());
            }
        }
    }

    /// @dev A plain call that takes no return data: however much a recipient returns, nothing of it is copied here.
    function _safeTransfer(
        address token,
        address from,
        address to,
        uint256 id,
        uint256 offered
    ) private returns (bool moved) {
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, SAFE_TRANSFER_FROM)
            mstore(add(data, 0x04), from)
            mstore(add(data, 0x24), to)
            mstore(add(data, 0x44), id)
            moved := call(offered, token, 0, data, 0x64, 0, 0)
        }
    }

    /// @dev The first 256 bytes of the last call's return data.
    function _boundedReason() private pure returns (bytes memory reason) {
        assembly ("memory-safe") {
            let size := returndatasize()
            if gt(size, MAX_REASON_BYTES) { size := MAX_REASON_BYTES }
            reason := mload(0x40)
            mstore(reason, size)
            returndatacopy(add(reason, 0x20), 0, size)
            mstore(0x40, add(reason, and(add(size, 0x3f), not(0x1f))))
        }
    }
}
